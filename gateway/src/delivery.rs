//! What a home hands on once it is durable, and for whom.

use std::sync::Arc;

use carillon_protocol::{Frame, RoomId, UserId};

use crate::encoded::{Class, Encoded};

/// Frames of one room for its members.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The room they are of.
    pub room: RoomId,
    /// What becomes of them where there is no space.
    pub class: Class,
    /// The frames.
    pub encoded: Encoded,
    /// Who gets them.
    pub audience: Audience,
}

impl Delivery {
    /// A frame for these users that is nobody's loss where there is no space.
    pub fn ephemeral(room: RoomId, users: Arc<[UserId]>, frame: &Frame<'_>) -> Self {
        Self {
            room,
            class: Class::Ephemeral,
            encoded: Encoded::frame(frame),
            audience: Audience::Users(users),
        }
    }
}

/// Who gets a delivery.
#[derive(Clone, Debug)]
pub enum Audience {
    /// These users, wherever they are connected: a small room's members.
    Users(Arc<[UserId]>),
    /// Every session that subscribed to the room: a large room's members.
    Subscribers,
}
