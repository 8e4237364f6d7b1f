//! The macros behind the tables of `layout.rs`: from one line they make number, name, writing, reading and a
//! description that tests hold against the documentation.

/// The frames: `Variant = number, "name", direction { field: form, optional field: form = tag }`, with `(field)`
/// for a frame that is one item and nothing else.
macro_rules! frames {
    ($($variant:ident = $number:literal, $name:literal, $direction:ident
        $({ $($field:ident: $form:ident $(= $tag:literal)?),* })?
        $(($item:ident))?;)*) => {
        /// What a frame is: the first byte of its binary form, the `kind` of its JSON form.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[repr(u8)]
        pub enum Kind {
            $(#[doc = concat!("`", $name, "`: [`Frame::", stringify!($variant), "`].")] $variant = $number,)*
        }

        impl Kind {
            /// Every kind, in order of its number.
            pub const ALL: &'static [Kind] = &[$(Kind::$variant,)*];

            /// The kind with that number; nothing for one of a later version.
            #[inline]
            pub const fn from_number(number: u8) -> Option<Kind> {
                match number {
                    $($number => Some(Kind::$variant),)*
                    _ => None,
                }
            }

            /// The kind with that name; nothing for one of a later version.
            pub fn from_name(name: &str) -> Option<Kind> {
                match name {
                    $($name => Some(Kind::$variant),)*
                    _ => None,
                }
            }

            /// Its name, as JSON and `docs/protocol.md` write it.
            pub const fn name(self) -> &'static str {
                match self { $(Kind::$variant => $name,)* }
            }

            /// Who sends it.
            pub const fn direction(self) -> Direction {
                match self { $(Kind::$variant => Direction::$direction,)* }
            }

            /// Its fields, in order; none of its own for [`Kind::Event`], which is an event and nothing else.
            pub const fn fields(self) -> &'static [Field] {
                match self { $(Kind::$variant => fields!($($($field: $form $(= $tag)?),*)?),)* }
            }
        }

        impl<'a> Frame<'a> {
            /// What it is.
            #[inline]
            pub const fn kind(&self) -> Kind {
                match self { $(Frame::$variant { .. } => Kind::$variant,)* }
            }

            #[inline]
            pub(crate) fn write<W: WriteFields>(&self, out: &mut W) {
                match self {
                    $(Frame::$variant $({ $($field),* })? $(($item))? => {
                        $($(out.$form(stringify!($field) $(, $tag)?, $field);)*)?
                        $($item.write(out);)?
                    })*
                }
            }

            #[inline]
            pub(crate) fn read<R: ReadFields<'a>>(kind: Kind, from: &mut R) -> Result<Self, R::Malformed> {
                match kind {
                    $(Kind::$variant => {
                        $($(let $field = from.$form(stringify!($field) $(, $tag)?)?;)* from.end()?;)?
                        $(let $item = Item::read(from)?;)?
                        Ok(Frame::$variant $({ $($field),* })? $(($item))?)
                    })*
                }
            }
        }
    };
}

/// The events: `CONSTANT Variant = number, "name" { field: form }`.
macro_rules! events {
    ($($constant:ident $variant:ident = $number:literal, $name:literal { $($field:ident: $form:ident),* };)*) => {
        impl EventKind {
            $(#[doc = concat!("`", $name, "`: [`EventBody::", stringify!($variant), "`].")]
            pub const $constant: EventKind = EventKind($number);)*

            /// Every kind of this version, in order of its number.
            pub const ALL: &'static [EventKind] = &[$(EventKind::$constant,)*];

            /// The kind with that name; nothing for one of a later version.
            pub fn from_name(name: &str) -> Option<EventKind> {
                match name {
                    $($name => Some(EventKind::$constant),)*
                    _ => None,
                }
            }

            /// Its name, as JSON and `docs/protocol.md` write it; `unknown` for a number of a later version.
            pub const fn name(self) -> &'static str {
                match self {
                    $(EventKind::$constant => $name,)*
                    _ => "unknown",
                }
            }

            /// The fields of its body, in order.
            pub const fn fields(self) -> &'static [Field] {
                match self {
                    $(EventKind::$constant => fields!($($field: $form),*),)*
                    _ => &[],
                }
            }
        }

        impl<'a> EventBody<'a> {
            /// What it is. A number that an unknown event cannot have counts as [`EventKind::UNKNOWN`].
            #[inline]
            pub const fn kind(&self) -> EventKind {
                match self {
                    $(EventBody::$variant { .. } => EventKind::$constant,)*
                    EventBody::Unknown { number } => EventKind::of_unknown(*number),
                }
            }

            #[inline]
            pub(crate) fn write<W: WriteFields>(&self, out: &mut W) {
                match self {
                    $(EventBody::$variant { $($field),* } => { $(out.$form(stringify!($field), $field);)* })*
                    EventBody::Unknown { .. } => {}
                }
            }

            #[inline]
            pub(crate) fn read<R: ReadFields<'a>>(kind: EventKind, from: &mut R) -> Result<Self, R::Malformed> {
                match kind {
                    $(EventKind::$constant => {
                        $(let $field = from.$form(stringify!($field))?;)*
                        from.end()?;
                        Ok(EventBody::$variant { $($field),* })
                    })*
                    EventKind(number) => Ok(EventBody::Unknown { number: u64::from(number) }),
                }
            }
        }
    };
}

/// The items: `Type in "list's field" { field: form, optional field: form = tag }`.
macro_rules! items {
    ($($item:ident $(<$life:lifetime>)? in $list:literal { $($field:ident: $form:ident $(= $tag:literal)?),* };)*) => {
        /// What stands in lists, or as a value with fields of its own: the type's name and its fields, in order.
        pub const ITEMS: &[(&str, &[Field])] =
            &[$((stringify!($item), fields!($($field: $form $(= $tag)?),*)),)*];

        $(impl<'a> Item<'a> for $item $(<$life>)? {
            const BYTES_MIN: usize = bytes_min(fields!($($field: $form $(= $tag)?),*));

            #[inline]
            fn write<W: WriteFields>(&self, out: &mut W) {
                $(out.$form(stringify!($field) $(, $tag)?, &self.$field);)*
            }

            #[inline]
            fn read<R: ReadFields<'a>>(from: &mut R) -> Result<Self, R::Malformed> {
                $(let $field = from.$form(concat!($list, ".", stringify!($field)) $(, $tag)?)?;)*
                from.end()?;
                Ok(Self { $($field),* })
            }
        })*
    };
}

/// The same fields as a description.
macro_rules! fields {
    ($($field:ident: $form:ident $(= $tag:literal)?),*) => {
        &[$(Field { name: stringify!($field), form: stringify!($form), tag: fields!(@tag $($tag)?) }),*]
    };
    (@tag) => { None };
    (@tag $tag:literal) => { Some($tag) };
}
