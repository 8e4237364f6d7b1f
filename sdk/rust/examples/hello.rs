//! Says hello in a new room and prints what comes: `TOKEN=$(carillon token --user 42) cargo run --example hello`
#![allow(clippy::print_stdout, reason = "it is for people")]
use carillon_sdk::Client;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let token = std::env::var("TOKEN")?;
    let (client, mut updates) = Client::builder("ws://127.0.0.1:8080/v1/ws").token(token).connect().await?;
    client.create_room("Hello", []).await?.send("Hello, world").await?;
    while let Some(update) = updates.next().await {
        println!("{update:?}");
    }
    Ok(())
}
