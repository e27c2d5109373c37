//! A TCP proxy that delays: `xtask bench ssh-delay PORT MILLISECONDS` adds a round trip, half of it
//! in each direction, and prints the port on which it listens.
//!
//! It reads bytes as they arrive and forwards them when they are due, so that the bandwidth is not
//! reduced. Each run measures the proxy's round trip and bandwidth ([`check`]). It uses threads
//! that sleep, because a runtime's timers have a resolution of a millisecond.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Bytes in flight, in each direction of a connection, beyond which the sender waits. Much more
/// than any SSH window.
const MAX_IN_FLIGHT: usize = 64 << 20;
const PIECE: usize = 128 << 10;

pub(crate) fn serve(args: &[&str]) -> Result<()> {
    let [port, round_trip] = args else {
        bail!("`bench ssh` starts this process itself")
    };
    let (port, round_trip): (u16, u64) = (port.parse()?, round_trip.parse()?);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    println!("{}", listener.local_addr()?.port());
    crate::bench::child::end_with_stdin();
    for near in listener.incoming() {
        let near = near?;
        let far = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        let delay = Duration::from_micros(round_trip * 500);
        for (from, to) in [(&near, &far), (&far, &near)] {
            from.set_nodelay(true)?;
            carry(from.try_clone()?, to.try_clone()?, delay);
        }
    }
    Ok(())
}

fn carry(mut from: TcpStream, mut to: TcpStream, delay: Duration) {
    let (sender, receiver) = mpsc::channel::<(Instant, Vec<u8>)>();
    let in_flight = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&in_flight);
    std::thread::spawn(move || {
        let mut buffer = vec![0; PIECE];
        // An empty piece is the end of the stream, which is delayed as well.
        while let Ok(length) = from.read(&mut buffer) {
            while counter.load(Ordering::Relaxed) > MAX_IN_FLIGHT {
                std::thread::sleep(Duration::from_micros(200));
            }
            counter.fetch_add(length, Ordering::Relaxed);
            let piece = buffer[..length].to_vec();
            if sender.send((Instant::now() + delay, piece)).is_err() || length == 0 {
                return;
            }
        }
    });
    std::thread::spawn(move || {
        for (due, piece) in receiver {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            if piece.is_empty() || to.write_all(&piece).is_err() {
                break;
            }
            in_flight.fetch_sub(piece.len(), Ordering::Relaxed);
        }
        // The peer may have closed the connection already.
        to.shutdown(std::net::Shutdown::Write).ok();
    });
}

/// Properties of the proxy itself.
pub(super) struct Measured {
    /// Milliseconds.
    pub(super) round_trip: f64,
    /// MiB a second of one connection.
    pub(super) bandwidth: f64,
}

/// Measures a proxy with plain bytes.
pub(super) fn check(round_trip: u64) -> Result<Measured> {
    const BYTES: usize = 512 << 20;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let proxy = super::processes::Listening::delay(listener.local_addr()?.port(), round_trip)?;
    let sink = std::thread::spawn(move || -> Result<()> {
        let (mut stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        let mut buffer = vec![0; PIECE];
        for _ in 0..10 {
            stream.read_exact(&mut buffer[..1])?;
            stream.write_all(&buffer[..1])?;
        }
        let mut left = BYTES;
        while left > 0 {
            let room = left.min(PIECE);
            left -= stream.read(&mut buffer[..room])?;
        }
        Ok(stream.write_all(&buffer[..1])?)
    });
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port))?;
    stream.set_nodelay(true)?;
    let mut trips = Vec::new();
    for _ in 0..10 {
        let start = Instant::now();
        stream.write_all(b"?")?;
        stream.read_exact(&mut [0])?;
        trips.push(start.elapsed());
    }
    trips.sort();
    let (start, piece) = (Instant::now(), vec![7; PIECE]);
    for _ in 0..BYTES / PIECE {
        stream.write_all(&piece)?;
    }
    stream.read_exact(&mut [0])?;
    let seconds = start.elapsed().as_secs_f64();
    sink.join()
        .ok()
        .context("the receiving thread panicked")??;
    let round_trip = trips[trips.len() / 2].as_secs_f64() * 1e3;
    Ok(Measured {
        round_trip,
        bandwidth: (BYTES >> 20) as f64 / seconds,
    })
}
