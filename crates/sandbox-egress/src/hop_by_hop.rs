//! The fields of a message that are about one connection alone.

/// Fields that a proxy does not pass on (RFC 9110 §7.6.1, RFC 9112 §6.1), besides those that `Connection` names.
pub(crate) const HOP_BY_HOP: [&str; 10] = [
    "connection",
    "expect",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
