//! Building the replies to requests.

use std::fs::Metadata;

use russh_sftp::protocol::{Attrs, File, Name, Packet, Status, StatusCode};

use super::attributes;
use super::status::SftpError;

pub(super) fn build_ok(id: u32) -> Status {
    Status {
        id,
        status_code: StatusCode::Ok,
        error_message: "Success".into(),
        language_tag: "en".into(),
    }
}

/// Builds the reply to a request that returns nothing.
pub(super) fn build_status(
    id: u32,
    result: Result<(), impl Into<SftpError>>,
) -> Result<Packet, SftpError> {
    result.map(|()| build_ok(id).into()).map_err(Into::into)
}

pub(super) fn build_attributes(id: u32, metadata: &Metadata) -> Attrs {
    Attrs {
        id,
        attrs: attributes::from_metadata(metadata),
    }
}

pub(super) fn build_name(id: u32, path: String) -> Name {
    Name {
        id,
        files: vec![File::dummy(path)],
    }
}
