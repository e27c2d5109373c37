//! The proof that a sandbox reaches no network: it is tried from inside.

use std::time::Duration;

use futures_util::future::try_join_all;
use sandbox_core::{
    Canary, ConnectionStage, Deadline, Error, NetworkIsolation, PortProbe, Result, Session,
};

/// How long an address may be silent that a network would have answered for. Inside a cluster that takes milliseconds.
const SILENCE: Duration = Duration::from_secs(1);
/// How long it may take until an order to isolate a sandbox takes effect.
const ENFORCEMENT_TIMEOUT: Duration = Duration::from_secs(30);
/// The first and the longest pause between two attempts.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// Attempts in a row that prove neither, after which the sandbox is given up.
const MAX_FAILURES: u32 = 3;
/// Where a sandbox reaches its own server, whatever policies say.
const ITSELF: &str = "127.0.0.1";

/// Why it is not proved that a sandbox reaches no network.
#[derive(Debug)]
pub(crate) enum Unproved {
    /// It does reach the network. The message says what, why, and what to do.
    Reaches(String),
    /// It could not be tried.
    Failed(Error),
}

/// Proves that the sandbox reaches none of the canaries, waiting until the order for that takes effect. `own_port` is that
/// of the sandbox's server: if even that cannot be reached, then nothing is proved by what cannot.
///
/// # Errors
///
/// [`Unproved`], after at most half a minute.
pub(crate) async fn prove(
    session: &dyn Session,
    own_port: Option<u16>,
    isolation: &NetworkIsolation,
) -> Result<(), Unproved> {
    let own_port = own_port.ok_or_else(|| Unproved::Failed(no_port_error()))?;
    let deadline = Deadline::from_now(ENFORCEMENT_TIMEOUT);
    let (mut pause, mut failures) = (PAUSE.0, 0);
    loop {
        let attempt = match find_reachable(session, own_port, &isolation.canaries).await {
            Ok(None) => return Ok(()),
            Ok(Some(canary)) => {
                failures = 0;
                Unproved::Reaches(format!(
                    "it still reaches {canary} {} s after a policy that denies it everything: {}",
                    ENFORCEMENT_TIMEOUT.as_secs(),
                    isolation.remedy
                ))
            }
            Err(error) => {
                failures += 1;
                let is_final = failures >= MAX_FAILURES || !error.is_retryable();
                if is_final {
                    return Err(Unproved::Failed(error));
                }
                Unproved::Failed(error)
            }
        };
        if deadline.remaining() <= pause {
            return Err(attempt);
        }
        tracing::debug!(?attempt, "the sandbox is not isolated yet");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE.1);
    }
}

/// Returns a canary that the sandbox reaches.
async fn find_reachable<'a>(
    session: &dyn Session,
    own_port: u16,
    canaries: &'a [Canary],
) -> Result<Option<&'a Canary>> {
    check_itself(session, own_port).await?;
    let probes = canaries.iter().map(|canary| async move {
        let (host, port) = (canary.address.ip().to_string(), canary.address.port());
        Ok::<_, Error>(match session.probe_port(&host, port, SILENCE).await? {
            PortProbe::Open => Some(canary),
            PortProbe::Refused | PortProbe::Silent => None,
        })
    });
    let found = try_join_all(probes).await?.into_iter().flatten().next();
    if found.is_none() {
        // A server that cannot connect to anything by now would look the same.
        check_itself(session, own_port).await?;
    }
    Ok(found)
}

/// Checks that the sandbox's server can connect at all.
async fn check_itself(session: &dyn Session, own_port: u16) -> Result<()> {
    match session.probe_port(ITSELF, own_port, SILENCE).await? {
        PortProbe::Open => Ok(()),
        PortProbe::Refused | PortProbe::Silent => Err(Error::connection(
            ConnectionStage::Channel,
            format!(
                "it does not even reach its own server ({ITSELF}:{own_port}), which proves nothing"
            ),
            None,
        )),
    }
}

fn no_port_error() -> Error {
    Error::unsupported(
        "a proof that it has no network",
        "a sandbox whose server has no TCP port",
        "use a backend whose sandboxes have no network",
    )
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use sandbox_core::MockSession;
    use tokio::time::Instant;

    use super::*;

    const OWN: u16 = 2222;
    const API: &str = "10.96.0.1";

    fn isolation() -> NetworkIsolation {
        let canary = |name, address: &str| Canary {
            name,
            address: address.parse().unwrap(),
        };
        NetworkIsolation::new(
            vec![
                canary("the API server", "10.96.0.1:443"),
                canary("the metadata service", "169.254.169.254:80"),
            ],
            "nothing enforces it",
        )
    }

    /// A session in which each probe of a host has the next of these results, the last one for ever.
    fn session(
        results: impl Fn(&str, usize) -> Result<PortProbe> + Send + Sync + 'static,
    ) -> MockSession {
        let counts: Arc<Mutex<std::collections::HashMap<String, usize>>> = Arc::default();
        let mut session = MockSession::new();
        session
            .expect_probe_port()
            .returning(move |host, port, silence| {
                assert_eq!(silence, SILENCE);
                assert_eq!(
                    port,
                    match host {
                        ITSELF => OWN,
                        API => 443,
                        _ => 80,
                    }
                );
                let mut counts = counts.lock().unwrap();
                let count = counts.entry(host.to_owned()).or_default();
                *count += 1;
                results(host, *count)
            });
        session
    }

    fn lost() -> Error {
        Error::connection(ConnectionStage::Channel, "the connection was lost", None)
    }

    #[tokio::test(start_paused = true)]
    async fn what_refuses_or_is_silent_proves_it_at_once() {
        for outcome in [PortProbe::Refused, PortProbe::Silent] {
            let session = session(move |host, _| {
                Ok(if host == ITSELF {
                    PortProbe::Open
                } else {
                    outcome
                })
            });
            let begun = Instant::now();
            prove(&session, Some(OWN), &isolation()).await.unwrap();
            assert_eq!(begun.elapsed(), Duration::ZERO);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_canary_that_answers_for_half_a_minute_is_too_much() {
        let session = session(|host, _| {
            Ok(match host {
                "169.254.169.254" | ITSELF => PortProbe::Open,
                _ => PortProbe::Silent,
            })
        });
        let begun = Instant::now();
        let Err(Unproved::Reaches(message)) = prove(&session, Some(OWN), &isolation()).await else {
            panic!("it is reached");
        };
        assert_eq!(
            message,
            "it still reaches the metadata service at 169.254.169.254:80 30 s after a policy that denies it everything: \
             nothing enforces it"
        );
        let took = begun.elapsed();
        assert!(
            took > Duration::from_secs(25) && took <= ENFORCEMENT_TIMEOUT,
            "{took:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_policy_may_take_effect_late() {
        let session = session(|host, count| {
            Ok(match host {
                ITSELF => PortProbe::Open,
                API if count < 10 => PortProbe::Open,
                _ => PortProbe::Silent,
            })
        });
        let begun = Instant::now();
        prove(&session, Some(OWN), &isolation()).await.unwrap();
        assert!(begun.elapsed() > Duration::from_secs(10));
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_that_dies_proves_nothing() {
        // Before, during and after the canaries.
        for dies_at in [1, 2] {
            let session = session(move |host, count| match host {
                ITSELF if count < dies_at => Ok(PortProbe::Open),
                ITSELF => Err(lost()),
                _ => Ok(PortProbe::Silent),
            });
            let unproved = prove(&session, Some(OWN), &isolation()).await.unwrap_err();
            assert!(
                matches!(unproved, Unproved::Failed(Error::Connection(_))),
                "{unproved:?}"
            );
        }
        let session = session(|host, _| {
            if host == API {
                Err(lost())
            } else {
                Ok(PortProbe::Open)
            }
        });
        let unproved = prove(&session, Some(OWN), &isolation()).await.unwrap_err();
        assert!(
            matches!(unproved, Unproved::Failed(Error::Connection(_))),
            "{unproved:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_is_lost_once_is_tried_again() {
        let session = session(|host, count| match host {
            ITSELF => Ok(PortProbe::Open),
            API if count == 1 => Err(lost()),
            _ => Ok(PortProbe::Refused),
        });
        prove(&session, Some(OWN), &isolation()).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_reaches_nothing_at_all_proves_nothing() {
        for outcome in [PortProbe::Refused, PortProbe::Silent] {
            let session = session(move |_, _| Ok(outcome));
            let Err(Unproved::Failed(error)) = prove(&session, Some(OWN), &isolation()).await
            else {
                panic!("nothing is proved");
            };
            assert!(
                error.to_string().contains("not even reach its own server"),
                "{error}"
            );
        }
        let nothing = MockSession::new();
        assert!(prove(&nothing, None, &isolation()).await.is_err());
    }
}
