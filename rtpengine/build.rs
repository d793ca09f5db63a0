//! Compiles the eBPF program with clang. Without clang the daemon is built all the same, and says at run time what is missing.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

const SOURCE: &str = "ebpf/forward.bpf.c";

fn main() {
    println!("cargo::rerun-if-changed=ebpf");
    println!("cargo::rerun-if-env-changed=BPF_CLANG");
    let Some(directory) = env::var_os("OUT_DIR") else { return };
    let object = PathBuf::from(directory).join("forward.bpf.o");
    if env::var_os("CARGO_FEATURE_EBPF").is_some() {
        match compile(&object) {
            Ok(()) => return,
            Err(reason) => println!("cargo::warning=forwarding by eBPF is left out: {reason}"),
        }
    }
    // An empty object is no program.
    if let Err(error) = std::fs::write(&object, []) {
        println!("cargo::error=cannot write {}: {error}", object.display());
    }
}

fn compile(object: &Path) -> Result<(), String> {
    let clang = env::var("BPF_CLANG").unwrap_or_else(|_| "clang".into());
    let endian = if env::var("CARGO_CFG_TARGET_ENDIAN").as_deref() == Ok("big") { "bpfeb" } else { "bpfel" };
    // Debian keeps asm/types.h in the directory of the architecture.
    let architecture = env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    let multiarch = format!("-I/usr/include/{architecture}-linux-gnu");
    let output = Command::new(&clang)
        .args(["-O2", "-g", "-target", endian, "-mcpu=v3", "-Wall", "-Wextra", "-Werror"])
        .args([&multiarch, "-c", SOURCE, "-o"])
        .arg(object)
        .output()
        .map_err(|error| format!("cannot run {clang} ({error}); install it, or set BPF_CLANG"))?;
    if output.status.success() {
        return Ok(());
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    let first = errors.lines().find(|line| line.contains("error")).unwrap_or("no message");
    Err(format!("{clang} cannot compile {SOURCE}: {first}"))
}
