//! Files from outside: a model hub, or any server that speaks HTTPS. Listing, fetching, checking; nothing is trusted.
