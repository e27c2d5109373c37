//! The [Connect protocol](https://connectrpc.com/docs/protocol) with JSON: frames, errors, conversions.
