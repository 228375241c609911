//! A gRPC connection pool for tonic clients.
