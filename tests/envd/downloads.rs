//! Downloads: whole, in part, and of files that change meanwhile.

use std::sync::Arc;

use http::Method;
use http_body_util::Full;

use crate::client::{Gateway, Guest};
use crate::exchange::Arriving;

crate::tests! {
    files_arrive_as_they_are,
    a_file_that_grows_is_sent_as_far_as_it_went,
    a_file_that_shrinks_breaks_the_connection,
}

/// Larger than what is on its way anywhere.
const LARGE: usize = 64 << 20;

async fn files_arrive_as_they_are(gateway: Arc<Gateway>) {
    let guest = gateway.create().await;
    let content: Vec<u8> = (0..700_001_u32).map(|index| (index / 3) as u8).collect();
    // Among them are the lengths of frames and packets.
    for length in [0, 1, 61_439, 61_440, 61_441, 65_535, 245_760, 700_001] {
        let content = &content[..length];
        let upload = guest
            .request(Method::POST, "/files?path=f")
            .header("content-type", "application/octet-stream")
            .body(Full::from(content.to_vec()));
        let answer = guest.send(upload.unwrap()).await;
        assert_eq!(answer.status, 200, "{length}: {answer:?}");
        let answer = guest.get("/files?path=f").await;
        assert_eq!(answer.status, 200, "{length}");
        assert!(answer.body == content, "{length}");
    }
    for (range, expected) in [
        ("0-0", &content[..1]),
        ("61430-61450", &content[61_430..=61_450]),
        ("61440-122879", &content[61_440..122_880]),
        ("200000-", &content[200_000..]),
        ("-5", &content[699_996..]),
    ] {
        let request = guest
            .request(Method::GET, "/files?path=f")
            .header("range", format!("bytes={range}"))
            .body(Full::default());
        let answer = guest.send(request.unwrap()).await;
        assert_eq!(answer.status, 206, "{range}");
        assert!(answer.body == expected, "{range}");
    }
}

async fn a_file_that_grows_is_sent_as_far_as_it_went(gateway: Arc<Gateway>) {
    let guest = gateway.create().await;
    let mut download = begin_large(&guest).await;
    guest.run("echo more >> large").await;
    let mut total = 0;
    while let Some(part) = download.next().await.unwrap() {
        total += part.len();
    }
    assert_eq!(total, LARGE);
}

async fn a_file_that_shrinks_breaks_the_connection(gateway: Arc<Gateway>) {
    let guest = gateway.create().await;
    let mut download = begin_large(&guest).await;
    guest.run("truncate -s 1000 large").await;
    let mut total = 0;
    let error = loop {
        match download.next().await {
            Ok(Some(part)) => total += part.len(),
            Ok(None) => panic!("the download ended as if it were complete"),
            Err(error) => break error,
        }
    };
    assert!(total < LARGE, "{error:?}");
}

/// Begins the download of a large file, which is not read on by itself.
async fn begin_large(guest: &Guest) -> Arriving {
    guest.run(&format!("truncate -s {LARGE} large")).await;
    let request = guest.request(Method::GET, "/files?path=large");
    guest.begin(request.body(Full::default()).unwrap()).await
}
