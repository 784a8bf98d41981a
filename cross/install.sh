#!/bin/sh
# Installs hobnail on a system without Debian packages, as root. What is there of yours stays.
set -e

usage() {
    cat <<'USAGE'
usage: ./install.sh [--root FOLDER]    install; with --root, into an image that does not run
       ./install.sh --remove           take away the program; /etc/hobnail and /var/lib/hobnail stay
USAGE
}

here=$(cd "$(dirname "$0")" && pwd)
root=
remove=
while [ $# -gt 0 ]; do
    case $1 in
    --root) root=${2:?--root needs a folder}; shift ;;
    --remove) remove=yes ;;
    --help) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
    esac
    shift
done
[ -n "$root" ] || [ "$(id -u)" = 0 ] || { echo "install.sh: this needs root" >&2; exit 77; }

systemd_runs() { [ -z "$root" ] && [ -d /run/systemd/system ]; }

# Everything but /etc, which belongs to whoever edits it.
ours() { (cd "$here/files" && find . -path ./etc -prune -o -type f -print | sed 's,^\./,,'); }

drop_ins="/etc/systemd/system/hobnail.service.d /etc/systemd/system/hobnail@.service.d"
# Before version 250 systemd hands over single files only, and would refuse the folder of keys.
without_credentials() {
    [ "$(systemctl --version | sed -n '1s/^systemd \([0-9]*\).*/\1/p')" -lt 250 ] || return 0
    for folder in $drop_ins; do
        mkdir -p "$folder"
        printf '[Service]\nLoadCredential=\n' >"$folder/50-credentials.conf"
    done
}

if [ -n "$remove" ]; then
    if systemd_runs; then systemctl disable --now hobnail.service hobnail.socket 2>/dev/null || true; fi
    ours | while read -r file; do rm -f "/$file"; done
    for folder in $drop_ins; do rm -f "$folder/50-credentials.conf"; done
    # shellcheck disable=SC2086 # two folders
    rmdir /usr/share/doc/hobnail/examples /usr/share/doc/hobnail $drop_ins 2>/dev/null || true
    if systemd_runs; then systemctl daemon-reload; fi
    echo "removed; your files are still in /etc/hobnail and /var/lib/hobnail"
    exit 0
fi

"$here/files/usr/bin/hobnail" version >/dev/null 2>&1 || [ -n "$root" ] || {
    echo "install.sh: this program does not run here ($(uname -m)); take the tarball for this machine" >&2
    exit 1
}
ours | while read -r file; do
    mkdir -p "$root/${file%/*}"
    # Beside it and then into its place: the old program may be running.
    cp "$here/files/$file" "$root/$file.new"
    mv "$root/$file.new" "$root/$file"
done
mkdir -p "$root/etc/hobnail" "$root/etc/default"
for file in etc/hobnail/topology.yaml etc/default/hobnail; do
    if [ -e "$root/$file" ]; then
        cp "$here/files/$file" "$root/$file.dist"
    else
        cp "$here/files/$file" "$root/$file"
    fi
done
[ -z "$root" ] || { echo "installed into $root; at its first boot, systemd-sysusers makes the user"; exit 0; }

if ! id hobnail >/dev/null 2>&1; then
    systemd-sysusers hobnail.conf 2>/dev/null ||
        useradd --system --home-dir /var/lib/hobnail --shell /usr/sbin/nologin hobnail 2>/dev/null ||
        adduser -S -D -H -h /var/lib/hobnail -s /sbin/nologin hobnail
fi
mkdir -p /etc/hobnail/keys
chmod 700 /etc/hobnail/keys
chown hobnail /etc/hobnail/keys

if systemd_runs; then
    without_credentials
    systemctl daemon-reload
    if systemctl is-active --quiet hobnail.service; then
        systemctl restart hobnail.service
    else
        systemctl enable --now hobnail.service
    fi
    systemctl --no-pager --lines=0 status hobnail.service
else
    echo "installed; no systemd runs here, so start it as the user hobnail: hobnail run /etc/hobnail/topology.yaml"
fi
