"""How a stub reaches its servicer: in the process or over the network, with the same outcome."""
