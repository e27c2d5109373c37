//! Moves one large file up and down.

use std::time::Instant;

use anyhow::{Result, ensure};
use hyper::body::Bytes;
use sandbox::Client;

use super::api::Api;
use super::{attach, server};
use crate::bench::figures::{Figures, table};

const SIZE: usize = 200 << 20;
const ROUNDS: usize = 21;
const PATH: &str = "large";

pub(super) async fn measure(api: &Api, client: &Client) -> Result<()> {
    eprintln!(
        "bench gateway: {ROUNDS} times {} MiB up and down",
        SIZE >> 20
    );
    let created = api.create(server::COLD).await?;
    let sbx = attach(client, &created).await?;
    let mut connection = api.connect().await?;
    let content = Bytes::from(vec![7; SIZE]);
    let mut figures: [Figures; 4] = Default::default();
    for _ in 0..ROUNDS {
        let [direct_up, up, direct_down, down] = &mut figures;
        let start = Instant::now();
        let bytes = sbx
            .upload_from(std::io::Cursor::new(content.clone()), PATH)
            .await?;
        direct_up.add(start);
        ensure!(usize::try_from(bytes).is_ok_and(|bytes| bytes == SIZE));
        let start = Instant::now();
        connection.write(&created, PATH, content.clone()).await?;
        up.add(start);
        let start = Instant::now();
        let bytes = sbx.download_to(PATH, tokio::io::sink()).await?;
        direct_down.add(start);
        ensure!(usize::try_from(bytes).is_ok_and(|bytes| bytes == SIZE));
        let start = Instant::now();
        let bytes = connection.read(&created, PATH).await?;
        down.add(start);
        ensure!(bytes == SIZE, "{bytes} bytes arrived");
    }
    drop(sbx);
    api.kill(&created).await?;
    let [direct_up, up, direct_down, down] = &figures;
    let peer = "a direct session";
    for (title, direct, through) in [("up", direct_up, up), ("down", direct_down, down)] {
        table(
            &format!("{} MiB {title}", SIZE >> 20),
            peer,
            &[(peer, Some(direct)), ("through the gateway", Some(through))],
        );
        // What disturbs one round disturbs both of its transfers.
        let speeds = direct.ratios(through);
        println!(
            "\nexpected: at least 0.7 of the direct session's speed; it was {:.2}, and {:.2} to {:.2} in the middle half of \
             the rounds",
            speeds[ROUNDS / 2],
            speeds[ROUNDS / 4],
            speeds[ROUNDS * 3 / 4]
        );
    }
    Ok(())
}
