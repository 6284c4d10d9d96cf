"""Ways to open channels: one module per kind of channel, all behind `yzdht.ports.Transport`."""
