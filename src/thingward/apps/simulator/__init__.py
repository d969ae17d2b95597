"""The sample site: simulated devices and a simulated internet, on real sockets in network namespaces."""
