//! The sandbox of `sidecar`: what it denies, what goes on in it, and what the kernel says of the
//! process itself.

mod denied;
mod goes_on;
mod names;
mod page;
mod pod;
mod process;
mod setting;
mod swap;

use segura_agent::os::sandbox::{ABI, kernel};

use crate::harness::{Scene, host::skip};

/// Whether the kernel can govern files; says so if not.
fn is_held(test: &str) -> bool {
    let can = kernel() >= ABI::V2;
    if !can {
        skip(test, "the kernel has no Landlock, or one before ABI 2");
    }
    can
}

/// A scene whose sidecar starts in the sandbox or not at all, and renews every second.
fn scene() -> Scene {
    let mut scene = Scene::new();
    hold(&mut scene);
    scene
}

/// Has the sidecar of a scene start in the sandbox or not at all, and renew every second.
fn hold(scene: &mut Scene) {
    scene.set("SEGURA_SANDBOX", "require").set("SEGURA_RENEW_INTERVAL", "1s");
}
