//! Connections over TCP.

use async_trait::async_trait;
use sandbox_core::{ByteStream, ConnectionStage, Connector, Deadline, Endpoint, Error, Result};

/// Opens TCP connections to [`Endpoint::Tcp`], without Nagle's delay. On Linux, a connection ends if
/// sent data is not acknowledged for 30 seconds, so that a vanished peer is noticed even while data
/// is in flight.
#[derive(Debug, Clone, Copy, Default)]
pub struct TcpConnector;

#[async_trait]
impl Connector for TcpConnector {
    async fn connect(
        &self,
        endpoint: &Endpoint,
        deadline: Deadline,
    ) -> Result<Box<dyn ByteStream>> {
        let Endpoint::Tcp(address) = endpoint else {
            return Err(Error::unsupported(
                format!("the endpoint {endpoint:?}"),
                "the TCP connector",
                "use the connector of the sandbox's backend",
            ));
        };
        let stream = deadline
            .bound("connecting over TCP", async {
                sandbox_net::connect(*address).await.map_err(|source| {
                    Error::connection(
                        ConnectionStage::Dial,
                        format!("cannot connect to {address} over TCP"),
                        Some(source.into()),
                    )
                })
            })
            .await?;
        Ok(Box::new(stream))
    }
}
