"""Effects on disk: records, marks, the keyfile and the data folder that holds them."""
