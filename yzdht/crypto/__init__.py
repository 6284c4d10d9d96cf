"""Keys, handshake, record layer and sealing. Pure and deterministic, save key generation, signatures and HPKE."""
