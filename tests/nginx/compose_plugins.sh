#!/bin/sh
# Compose and buildx for a Debian whose own are too old for deploy/compose.yaml: those of the next Debian, fetched from the mirror
# that this machine uses and checked as apt checks everything; unpacked into a folder, not installed.
#
#   sh tests/nginx/compose_plugins.sh FOLDER    they are in FOLDER/usr/libexec/docker/cli-plugins
set -eu
folder=$(realpath -m "$1")
mirror=$(apt-get indextargets --format '$(ORIGIN) $(COMPONENT) $(CODENAME) $(SITE)' 'Created-By: Packages' |
  awk '$1 == "Debian" && $2 == "main" && $3 !~ /-/ {print $4; exit}')
[ "$mirror" ] || { echo "error: this machine has no mirror of Debian" >&2; exit 1; }

mkdir -p "$folder/lists/partial" "$folder/cache/archives/partial" "$folder/packages"
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror trixie main" > "$folder/sources.list"
apt() {
  apt-get -qq -o Dir::Etc::SourceList="$folder/sources.list" -o Dir::Etc::SourceParts=/dev/null -o APT::Sandbox::User=root \
    -o Dir::State::Lists="$folder/lists" -o Dir::Cache="$folder/cache" "$@"
}
apt update
cd "$folder/packages"
apt download docker-compose docker-buildx
for package in *.deb; do
  dpkg-deb --extract "$package" "$folder"
done
rm -rf "$folder/lists" "$folder/cache" "$folder/packages"
