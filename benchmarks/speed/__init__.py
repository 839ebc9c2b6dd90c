"""Examples per second, compared with other frameworks and with the limit of the machine."""
