//! Tests the Dockerfile without a container runtime: with a linter, and by comparing it with the files of the
//! repository and the built program.

use std::process::Command;

use curfew::config::ListenerName;

use crate::support::deployment::installed_path;

fn read_file(name: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn the_linter_accepts_the_dockerfile() {
    let mut command = Command::new(installed_path("bin/hadolint"));
    let directory = env!("CARGO_MANIFEST_DIR");
    let output = command.arg("Dockerfile").current_dir(directory).output();
    let output = output.unwrap();
    let findings = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && findings.is_empty(), "{findings}");
}

/// Each file that the Dockerfile copies exists. `.dockerignore` includes these files, and no others.
#[test]
fn copied_files_exist() {
    let ignore = read_file(".dockerignore");
    let mut lines = ignore.lines();
    assert_eq!(lines.next(), Some("*"));
    let mut allowed: Vec<&str> = lines.map(|line| line.strip_prefix('!').unwrap()).collect();
    let dockerfile = read_file("Dockerfile");
    let mut copied: Vec<&str> = dockerfile
        .lines()
        .filter_map(|line| line.strip_prefix("COPY "))
        .filter(|line| !line.starts_with("--from"))
        .flat_map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            words[..words.len() - 1].to_vec()
        })
        .collect();
    for name in &copied {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
        assert!(path.exists(), "{name}");
    }
    copied.sort_unstable();
    allowed.sort_unstable();
    assert_eq!(copied, allowed);
}

/// The program needs no libraries except the C library and the compiler's runtime library, which the base image has.
#[test]
fn the_image_has_the_libraries_of_the_program() {
    let output = Command::new("ldd")
        .arg(env!("CARGO_BIN_EXE_curfew"))
        .output();
    let text = String::from_utf8(output.unwrap().stdout).unwrap();
    let names = text.lines().map(|line| {
        let word = line.split_whitespace().next().unwrap();
        word.rsplit('/')
            .next()
            .unwrap()
            .split('.')
            .next()
            .unwrap()
            .to_owned()
    });
    let names: Vec<String> = names.collect();
    assert!(names.len() >= 3, "{text}");
    for name in names {
        let known = [
            "linux-vdso",
            "libgcc_s",
            "libm",
            "libc",
            "libpthread",
            "libdl",
            "librt",
        ];
        assert!(
            known.contains(&&*name) || name.starts_with("ld-linux"),
            "{name}"
        );
    }
}

#[test]
fn the_image_has_the_default_ports_and_a_health_check() {
    let text = read_file("Dockerfile");
    assert!(text.contains("USER 65532:65532"));
    // docs/kubernetes-policies.md says that the images have the feature.
    assert!(text.contains("--features kubernetes"));
    assert!(text.contains(r#"CMD ["/usr/local/bin/curfew", "healthcheck"]"#));
    assert!(text.contains(r#"CMD ["serve"]"#));
    assert!(text.contains("EXPOSE 9180 9181 9182 9183 9184 9189"));
    let source = curfew::config::ConfigSource {
        file: None,
        environment: curfew::config::Environment::default(),
    };
    let default = source.load().unwrap().config.listen;
    for (name, addresses) in default.addresses.iter() {
        let expected = match name {
            ListenerName::Check => &["[::]:9180"][..],
            ListenerName::Grpc => &["[::]:9181"],
            ListenerName::Spoe | ListenerName::Proxy => &[],
            ListenerName::Browser => &["[::]:9183"],
            ListenerName::Admin => &["127.0.0.1:9188", "[::1]:9188"],
            ListenerName::Ops => &["[::]:9189"],
        };
        let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        assert_eq!(addresses, expected, "{}", name.as_str());
    }
    // The compiler of the image is new enough for the crate.
    let required_version = env!("CARGO_PKG_RUST_VERSION");
    let image_version = text.lines().find_map(|line| line.strip_prefix("ARG RUST="));
    let minor_version = |version: &str| version.split('.').nth(1).unwrap().parse::<u32>().unwrap();
    assert!(minor_version(image_version.unwrap()) >= minor_version(required_version));
}
