//! The program as an ELF file, which `ip link` and libbpf load.

use ebpf_array::Instruction;
use object::write::{Error, Object, Symbol, SymbolSection};
use object::{Architecture, BinaryFormat, Endianness, SectionKind, SymbolFlags, SymbolKind, SymbolScope};

/// The section of the program, which loaders take for its type as well.
pub const SECTION: &str = "xdp";
/// What `ip link` and `bpftool prog` show; the kernel keeps 15 bytes.
const NAME: &str = "ringfort_steer";
/// Some functions of the kernel are for programs that may be used under the GPL.
const LICENSE: &[u8] = b"Dual MIT/GPL\0";

/// The file.
///
/// # Errors
/// None: the file has three names and one symbol.
pub fn file(program: &[Instruction]) -> Result<Vec<u8>, Error> {
    let mut object = Object::new(BinaryFormat::Elf, Architecture::Bpf, Endianness::Little);
    let code: Vec<u8> = program.iter().flat_map(|instruction| instruction.to_le_bytes()).collect();
    let section = object.add_section(Vec::new(), SECTION.into(), SectionKind::Text);
    object.append_section_data(section, &code, size_of::<Instruction>() as u64);
    let license = object.add_section(Vec::new(), b"license".to_vec(), SectionKind::Data);
    object.append_section_data(license, LICENSE, 1);
    object.add_symbol(Symbol {
        name: NAME.into(),
        value: 0,
        size: code.len() as u64,
        kind: SymbolKind::Text,
        scope: SymbolScope::Dynamic,
        weak: false,
        section: SymbolSection::Section(section),
        flags: SymbolFlags::None,
    });
    object.write()
}
