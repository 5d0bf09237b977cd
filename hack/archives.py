"""What hack/image and hack/release share: the version, the build, and tars whose bytes depend on their content alone."""
import os
import re
import subprocess
import sys

# No traces beside the sources.
sys.dont_write_bytecode = True

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TARGETS = {"amd64": "x86_64-unknown-linux-gnu", "arm64": "aarch64-unknown-linux-gnu"}
MACHINE = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
# What links for another architecture: Debian's package gcc-aarch64-linux-gnu.
CROSS = {"arm64": "aarch64-linux-gnu-gcc"}


def fail(message):
    sys.exit(f"{os.path.relpath(sys.argv[0], ROOT)}: {message}")


def version():
    with open(os.path.join(ROOT, "Cargo.toml"), encoding="utf-8") as file:
        found = re.search(r"\[workspace\.package\]\s*\nversion = \"([^\"]+)\"", file.read())
    return found.group(1) if found else fail("Cargo.toml names no version")


def git(*arguments):
    result = subprocess.run(["git", "-C", ROOT, *arguments], capture_output=True, text=True)
    return result.stdout.strip() if result.returncode == 0 else ""


def moment():
    """The time of the commit, so that the same sources give the same bytes."""
    return int(os.environ.get("SOURCE_DATE_EPOCH") or git("log", "-1", "--format=%ct") or 0)


def read(path):
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        fail(f"cannot read {path}: {error.strerror}")


def build(arch):
    """Builds all programs, linked statically, so that they run on any distribution and in an image of nothing; the folder
    they are in. glibc's resolver is part of a static program since 2.34. One build serves the release and the image."""
    target = TARGETS[arch]
    sysroot = subprocess.run(["rustc", "--print", "sysroot"], capture_output=True, text=True, check=True).stdout.strip()
    if not os.path.isdir(os.path.join(sysroot, "lib", "rustlib", target)):
        fail(f"Rust's target {target} is not installed; install it with `rustup target add {target}`")
    environment = dict(os.environ, RUSTFLAGS="-C target-feature=+crt-static -C strip=symbols")
    if arch != MACHINE and arch in CROSS:
        environment.setdefault(f"CARGO_TARGET_{target.upper().replace('-', '_')}_LINKER", CROSS[arch])
    command = ["cargo", "build", "--release", "--locked", "--workspace", "--bins", "--target", target]
    if subprocess.run(command, cwd=ROOT, env=environment).returncode != 0:
        fail("the programs could not be built")
    return os.path.join(ROOT, os.environ.get("CARGO_TARGET_DIR", "target"), target, "release")
