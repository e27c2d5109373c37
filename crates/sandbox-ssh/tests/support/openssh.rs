//! OpenSSH's sshd on loopback, with its own keys and configuration.
