# The steps of .ci/run, each by itself: .ci/run has their commands and their order.

# Lists the recipes
default:
    @"{{ just_executable() }}" --list --unsorted

# Runs every step in order: what decides whether a change lands
all:
    .ci/run

# Installs the Debian packages that tests use; needs root
packages:
    .ci/run packages

# Fetches the crates of the lock file, those of other platforms too
crates:
    .ci/run crates

# Checks the format of the sources
format:
    .ci/run format

# Runs clippy on everything; a warning fails
lints:
    .ci/run lints

# Builds the documentation of the crate, private items too; a warning fails
documentation:
    .ci/run documentation

# Installs cargo-deny and cargo-cyclonedx
tools:
    .ci/run tools

# Checks bans, licences and sources of the dependencies
dependencies:
    .ci/run dependencies

# Compares THIRD-PARTY-LICENSES.txt with the lock file
licences:
    .ci/run licences

# Compares sbom.cdx.json with the lock file
parts:
    .ci/run parts

# Builds the crate from what cargo packages; needs a clean checkout
package:
    .ci/run package

# Builds the static binary twice, and compares bytes, size and linkage
static:
    .ci/run static

# Runs the README's first command twice
demo:
    .ci/run demo

# Builds the tests
build-tests:
    .ci/run build-tests

# Runs all tests, with the static binary
tests:
    .ci/run tests

# Builds every manifest, and checks it by the schemas of Kubernetes
manifests:
    .ci/run manifests

# Builds the binary for arm64, and runs it emulated
arm64:
    .ci/run arm64

# Builds the image by the Dockerfile, for both platforms; needs root and podman
image:
    .ci/run image

# Plays the README's pod; needs root and podman
pod:
    .ci/run pod
