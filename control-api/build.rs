//! Compiles the protobuf contracts without a protoc binary.

use std::path::PathBuf;

/// What callers of the API see, as text and as the descriptor that the service works by.
const PUBLIC: &str = "continuum/api/v1/api.proto";
/// The contracts as they were published last: what is compiled beside them must fit them.
const PUBLISHED: &str = "proto/published";
/// Between nodes and agents.
const INTERNAL: &str = "control.proto";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = protox::compile(["proto/control.proto"], ["proto"])?;
    tonic_prost_build::configure().build_transport(false).compile_fds(files)?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let descriptor = |root: &str, files: &[&str], name: &str| -> Result<(), protox::Error> {
        let mut compiler = protox::Compiler::new([root])?;
        compiler.include_imports(true).open_files(files)?;
        let written = std::fs::write(out.join(name), compiler.encode_file_descriptor_set());
        written.map_err(protox::Error::new)
    };
    descriptor("proto", &[PUBLIC], "public.binpb")?;
    descriptor("proto", &[PUBLIC, INTERNAL], "current.binpb")?;
    descriptor(PUBLISHED, &[PUBLIC, INTERNAL], "published.binpb")?;
    Ok(())
}
