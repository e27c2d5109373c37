//! SSH sessions to sandboxes: a pool of shared connections, commands and files.
