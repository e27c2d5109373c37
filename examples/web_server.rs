//! A web server inside, reached from here: `cargo run --example web_server`.

use std::time::Duration;

use sandbox::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

fn main() -> Result<()> {
    sandbox::local::init(); // first, before any thread
    run()
}

#[tokio::main]
async fn run() -> Result<()> {
    let client = Client::from_env().await?;
    let sbx = client.sandbox().create().await?;
    sbx.files().create_dir_all("site").await?;
    sbx.files()
        .write("site/index.html", "<h1>from a sandbox</h1>\n")
        .await?;

    // A job keeps running when this program ends; its output goes to a log.
    let server = sbx
        .command("python3")
        .args(["-m", "http.server", "8000", "--directory", "site"]);
    let server = server.spawn_detached().await?;

    // The local port is on loopback. Inside, the server needs to listen on loopback only.
    let web = sbx.forward(8000).await?;
    println!("http://{}/ leads to port 8000 inside", web.local_addr());

    // The server needs a moment to start; earlier connections are refused inside.
    let page = loop {
        match fetch(web.local_addr()).await {
            Ok(page) if !page.is_empty() => break page,
            _ => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    };
    println!("{}", page.lines().last().unwrap_or_default());
    println!(
        "its log: {}",
        server.logs().await?.to_string_lossy().trim_end()
    );

    server.signal(Signal::Term).await?;
    println!("the server ended: {}", server.wait().await?);
    drop(web); // closes the port
    sbx.delete().await
}

async fn fetch(address: std::net::SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
    let mut response = String::new();
    stream.read_to_string(&mut response).await?;
    Ok(response)
}
