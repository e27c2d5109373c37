//! How requests to the API server are authenticated, as client-go does it.
//!
//! kube's own layer is not used. It gives a credential program the standard input of this program,
//! sends the newline at the end of a token file, and never reads a client certificate again.

mod client_certificate;
mod exec_credential;
mod header;
mod issued;
mod method;
mod program;
mod provider;
mod renewal;
mod service;
mod source;
mod token_file;

pub(super) use service::AuthenticatedClient;
pub(super) use source::Credentials;
