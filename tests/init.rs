//! The main job: log in, fetch, render, publish.

use crate::harness::{POD, SEED, Scene};

#[test]
fn the_seeds_secret_lands_with_one_connection_and_two_requests() {
    let scene = Scene::new();
    scene.init().ended(0);
    assert_eq!(
        scene.asked(),
        ["POST /iso/oauth2/token", "POST /iso/coe/dapp/provision"]
    );
    assert_eq!(scene.vault.connections(), 1);
    let provisioned = scene.vault.provisioned(SEED);
    assert_eq!(provisioned.len(), 1);
    assert_eq!(provisioned[0].pod_name, POD);
    assert_eq!(provisioned[0].deploy, "web");
    assert_eq!(
        scene.read("secret-postman/username"),
        provisioned[0].username
    );
    assert_eq!(scene.read("secret-postman/1/username"), "usera2a");
    assert_eq!(scene.read("secret-postman/ip"), "10.66.32.13");
    assert_eq!(scene.read("secret-postman/additional_information"), "");
    assert_eq!(scene.state()["secrets"][0]["version"], "7");
}
