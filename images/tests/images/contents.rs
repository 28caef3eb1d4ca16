//! What is in an image, and of what kind its program is.

use std::process::Command;

use sandgate_images_test::{docker, must, run};

use crate::{BOTH, SIDECAR, Unpacked, text};

#[test]
fn an_image_has_the_files_that_are_listed_and_no_others() {
    for image in BOTH {
        let files = Unpacked::of(&image.tag()).files();
        let listed: String = files.iter().map(|(mode, owner, _, name)| format!("{mode} {owner} {name}\n")).collect();
        assert_eq!(listed, text(&format!("images/{}.files", image.name)), "{}", image.name);
    }
}

#[test]
fn an_image_is_no_larger_than_it_may_be() {
    for image in BOTH {
        let size: u64 = Unpacked::of(&image.tag()).files().iter().map(|(_, _, size, _)| size).sum();
        println!("{}: {size} bytes unpacked", image.tag());
        assert!(size > 0 && size < image.limit, "{}: {size} bytes, where {} is the limit", image.name, image.limit);
    }
}

#[test]
fn there_is_no_shell() {
    for image in BOTH {
        for shell in ["/bin/sh", "/bin/bash", "/busybox/sh", "sh"] {
            let tag = image.tag();
            let said = run(&mut docker(&["run", "--rm", "--network=none", "--entrypoint", shell, &tag, "-c", "true"]));
            assert_eq!(said.code, Some(127), "{shell}: {said:#?}");
        }
    }
}

/// What `readelf` says of a program: for which machine it is, and whether anything has to load it.
fn assert_static(file: &std::path::Path, machine: &str) {
    let said = must(Command::new("readelf").args(["--wide", "--file-header", "--segments", "--dynamic"]).arg(file));
    let line = said.lines().find(|line| line.trim_start().starts_with("Machine:")).expect("a machine");
    assert!(line.ends_with(machine), "{line} instead of {machine}");
    assert!(!said.contains("INTERP") && !said.contains("(NEEDED)"), "it is not static: {said}");
    // Where it is loaded is for the kernel to choose; for arm64 Rust cannot make both of a program with glibc.
    let anywhere = said.contains("DYN (Position-Independent Executable file)");
    assert!(anywhere || machine == "AArch64", "{said}");
}

#[test]
fn a_program_is_static_and_for_its_architecture() {
    for image in BOTH {
        assert_static(&Unpacked::of(&image.tag()).file(image.program), "X86-64");
    }
    // The one that is built for the other architecture: no processor of it is asked.
    assert_static(&Unpacked::of("sandgate/sidecar:dev-arm64").file(SIDECAR.program), "AArch64");
}
