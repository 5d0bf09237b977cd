#!/bin/sh
# Installs kplane's programs from a release, after checking them against its checksums.
#
#   sh install.sh                      the newest release, into ~/.local/bin
#   KPLANE_VERSION=v0.1.0 sh install.sh
#   KPLANE_BIN=/usr/local/bin sh install.sh
#   KPLANE_RELEASE=DIR sh install.sh   from a folder with the files of a release: no network is used
set -eu

bin="${KPLANE_BIN:-$HOME/.local/bin}"
repository="https://github.com/kplane-dev/kplane"
fail() { echo "install.sh: $1" >&2; exit 1; }

case "$(uname -s)" in Linux) os=linux ;; Darwin) os=darwin ;; *) fail "there is no release for $(uname -s)" ;; esac
case "$(uname -m)" in x86_64 | amd64) arch=amd64 ;; aarch64 | arm64) arch=arm64 ;; *) fail "there is no release for $(uname -m)" ;; esac

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fetch() {
  if [ -n "${KPLANE_RELEASE:-}" ]; then
    cp "$KPLANE_RELEASE/$1" "$work/$1" || fail "$KPLANE_RELEASE has no $1"
  else
    command -v curl >/dev/null || fail "curl is needed to fetch $url/$1"
    curl -fsSL --proto '=https' -o "$work/$1" "$url/$1" || fail "cannot fetch $url/$1"
  fi
}

version="${KPLANE_VERSION:-latest}"
if [ "$version" = latest ]; then url="$repository/releases/latest/download"; else url="$repository/releases/download/$version"; fi
fetch checksums.txt
archive=$(awk -v end="_${os}_${arch}.tar.gz" 'substr($2, length($2) - length(end) + 1) == end {print $2}' "$work/checksums.txt")
[ -n "$archive" ] || fail "this release has nothing for $os on $arch"
fetch "$archive"

expected=$(awk -v name="$archive" '$2 == name {print $1}' "$work/checksums.txt")
if command -v sha256sum >/dev/null; then
  actual=$(sha256sum "$work/$archive" | cut -d' ' -f1)
else
  actual=$(shasum -a 256 "$work/$archive" | cut -d' ' -f1)
fi
[ "$expected" = "$actual" ] || fail "$archive is not what the release says it is (sha256 $actual, expected $expected); nothing was installed"

mkdir -p "$bin" "$work/files"
tar -xzf "$work/$archive" -C "$work/files"
for file in kubectl-kplane kubectl-vcp kplaned kplane-apiserver kubectl_complete-kplane kubectl_complete-vcp; do
  # A running program's file cannot be overwritten, but it can be replaced.
  cp "$work/files/$file" "$bin/.$file.new"
  chmod 755 "$bin/.$file.new"
  mv -f "$bin/.$file.new" "$bin/$file"
done
for image in "$work/files"/kplane-image-*.tar; do [ -e "$image" ] && cp "$image" "$bin/"; done
ln -sf kubectl-kplane "$bin/kplane"
ln -sf kubectl-kplane "$bin/kp"
echo "kplane is installed in $bin"
case ":$PATH:" in *":$bin:"*) ;; *) echo "To use it from your shell: export PATH=\"$bin:\$PATH\"" ;; esac
echo "Next: kubectl kplane up"
