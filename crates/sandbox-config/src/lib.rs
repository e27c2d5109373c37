//! Settings of the sandbox SDK, from the environment and a .env file.
