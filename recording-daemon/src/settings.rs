//! What the daemon was told to do, in the types that its parts work with.

use std::path::PathBuf;

use media_store::container::Format;
use media_store::sink::file::Ownership;
use service::process::ThreadStack;

use crate::config::{Config, MixInput, Targets};
use crate::mix::MixMethod;

/// Everything but logging and process mechanics.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Kernel table of the relay daemon, if packets may come from the kernel.
    pub table: Option<u8>,
    /// Where the relay daemon writes metafiles.
    pub spool_dir: PathBuf,
    /// Worker threads.
    pub workers: usize,
    /// Events fetched at a time.
    pub poller_events: usize,
    /// Stack of each thread.
    pub thread_stack: ThreadStack,
    /// Audio files.
    pub output: OutputSettings,
    /// Where recordings go.
    pub targets: Targets,
    /// Octets of recordings in memory.
    pub memory_octets: u64,
    /// A JSON description beside each recording.
    pub sidecar: bool,
    /// Gets a line about the end of each recording.
    pub report_file: Option<PathBuf>,
}

/// Which audio files are written, and how.
#[derive(Clone, Debug)]
pub struct OutputSettings {
    /// Directory of the files.
    pub directory: PathBuf,
    /// Pattern of their names.
    pub pattern: String,
    /// How audio is stored.
    pub format: Format,
    /// In memory instead of files.
    pub in_memory: bool,
    /// One file for each SSRC.
    pub single: bool,
    /// One file for each call.
    pub mixed: bool,
    /// Sample rate of all files; that of the first audio when unset.
    pub resample_to: Option<u32>,
    /// How inputs are mixed.
    pub mix_method: MixMethod,
    /// Inputs of a mix.
    pub mix_inputs: usize,
    /// What decides the input of a stream.
    pub mix_input: MixInput,
    /// Modes and owners.
    pub ownership: Ownership,
    /// Octets kept in memory before they are written.
    pub buffer_octets: usize,
}

impl Settings {
    /// The settings that a configuration means.
    pub fn new(config: Config, thread_stack: ThreadStack) -> Self {
        let output = config.output;
        Self {
            table: config.table,
            spool_dir: config.spool_dir,
            workers: config.num_threads,
            poller_events: config.poller_events,
            thread_stack,
            output: OutputSettings {
                directory: output.dir,
                pattern: output.pattern,
                format: output.format,
                in_memory: config.targets.storages.memory,
                single: output.single,
                mixed: output.mixed,
                resample_to: output.resample_to,
                mix_method: output.mix_method,
                mix_inputs: output.mix_num_inputs,
                mix_input: output.mix_input,
                ownership: Ownership {
                    file_mode: output.file_mode,
                    directory_mode: Some(output.dir_mode),
                    user: output.user,
                    group: output.group,
                },
                buffer_octets: if output.flush_packets { 0 } else { output.buffer_octets },
            },
            targets: config.targets,
            memory_octets: output.memory_octets,
            sidecar: output.sidecar,
            report_file: output.report_file,
        }
    }
}

impl OutputSettings {
    /// The rate that audio of this rate is stored with.
    pub fn sample_rate(&self, of_audio: u32) -> u32 {
        self.format.sample_rate_for(self.resample_to.unwrap_or(of_audio))
    }

    /// Both kinds, WAV, four inputs.
    #[cfg(test)]
    pub fn for_tests(directory: &std::path::Path) -> Self {
        Self {
            directory: directory.to_owned(),
            pattern: "%c-%t".into(),
            format: Format::Wav,
            in_memory: false,
            single: true,
            mixed: true,
            resample_to: None,
            mix_method: MixMethod::Direct,
            mix_inputs: 4,
            mix_input: MixInput::ByAppearance,
            ownership: Ownership::default(),
            buffer_octets: 1000,
        }
    }
}
