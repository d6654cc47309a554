"""Pure: desired state → Swarm service specs, PostgreSQL settings, haproxy.cfg."""
