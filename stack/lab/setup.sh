#!/bin/bash
# Install the Debian packages that the tests and the lab need; with names as arguments, only those.
#
# Runs as root on Debian 12 and touches nothing that is there already. No service is started: while packages are
# configured a policy-rc.d says no, and PostgreSQL's packaging is told to create no cluster; both are put back as they
# were. The lab builds everything else (a Debian 13 with its engine, PostgreSQL 17 and HAProxy 3.0) inside itself.
set -euo pipefail

PACKAGES=(
    ca-certificates curl make python3 python3-venv git
    postgresql-15 haproxy                                    # tests marked postgres and haproxy
    prometheus                                               # promtool, for the alert rules of stack/monitoring
    php-cli php-pgsql                                        # the PHP class of clients/php, marked postgres too
    debootstrap iproute2 procps util-linux                   # the lab
    chromium                                                 # the dashboard, in tests/lab
)
[ $# -gt 0 ] && PACKAGES=("$@")

is_installed() {
    [ "$(dpkg-query --show --showformat='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

missing=()
for package in "${PACKAGES[@]}"; do
    is_installed "$package" || missing+=("$package")
done
if [ ${#missing[@]} -eq 0 ]; then
    echo "setup: every Debian package is here"
    exit 0
fi
if [ "$(id -u)" -ne 0 ]; then
    echo "setup: these Debian packages are missing, and only root can install them: ${missing[*]}" >&2
    exit 1
fi
command -v apt-get >/dev/null || { echo "setup: this is not Debian; install: ${missing[*]}" >&2; exit 1; }

policy=/usr/sbin/policy-rc.d
cluster=/etc/postgresql-common/createcluster.d/pgswarm.conf
made_policy=
made_cluster=
put_back() {
    [ -z "$made_policy" ] || rm -f "$policy"
    [ -z "$made_cluster" ] || rm -f "$cluster"
}
trap put_back EXIT
if [ ! -e "$policy" ]; then
    made_policy=yes
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi
if [ ! -e "$cluster" ]; then
    made_cluster=yes
    mkdir -p "$(dirname "$cluster")"
    echo 'create_main_cluster = false' >"$cluster"
fi

log=$(mktemp)
echo "setup: installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
if ! { apt-get update && apt-get install --yes --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    echo "setup: apt-get failed; its whole output is in $log" >&2
    exit 1
fi
rm -f "$log"
