use super::*;

const FORMAT_8K: AudioFormat = AudioFormat { sample_rate: 8000, channels: 1 };

fn contents() -> Contents {
    Contents { kind: OutputKind::Single, ssrc: 0xab, stream: 0, party: None, label: String::new() }
}

fn call() -> CallInfo {
    CallInfo { call_id: "c".into(), ..CallInfo::default() }
}

struct Bench {
    settings: OutputSettings,
    budget: Budget,
    recording: Recording,
    directory: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("temporary directory");
        let settings = OutputSettings::for_tests(&directory.path().join("out"));
        Self { settings, budget: Budget::new(100_000), recording: Recording::new("p", 1.0), directory }
    }

    fn create(&mut self) -> OutputFile {
        OutputFile::create(&self.settings, &self.budget, &call(), &mut self.recording, &contents(), FORMAT_8K)
            .expect("create")
    }

    /// Nothing can be made where the outputs belong.
    fn block(&self) {
        std::fs::write(self.directory.path().join("out"), "").expect("a file where the directory should be");
    }

    fn unblock(&self) {
        std::fs::remove_file(self.directory.path().join("out")).expect("remove");
    }

    fn frames_in_file(&self) -> u64 {
        (std::fs::metadata(&self.recording.outputs[0].path).expect("file").len() - 44) / 2
    }
}

#[test]
fn an_output_without_audio_leaves_no_file() {
    let mut bench = Bench::new();
    let output = bench.create();
    let path = bench.recording.outputs[0].path.clone();
    assert!(path.exists());
    assert!(matches!(output.finish(&mut bench.recording, SystemTime::now()), Finished::Settled));
    assert!(!path.exists());
    assert_eq!(bench.recording.outputs[0].state, OutputState::Dropped);
}

#[test]
fn an_interrupted_output_is_continued() {
    let mut bench = Bench::new();
    let mut output = bench.create();
    output.append(&[1; 100]);
    output.flush();
    output.append(&[2; 100]);
    std::mem::forget(output);
    let left = bench.recording.outputs[0].clone();
    let mut again = OutputFile::reopen(&bench.settings, &bench.budget, &left, 0).expect("reopen");
    assert_eq!((again.frames(), again.format()), (100, FORMAT_8K));
    again.append(&[3; 10]);
    again.flush();
    assert_eq!(again.read_at(99, 2).expect("read"), [1, 3]);
}

#[test]
fn audio_waits_in_memory_until_a_file_can_be_made() {
    let mut bench = Bench::new();
    bench.block();
    let mut output = bench.create();
    output.append(&[1; 8000]);
    output.flush();
    bench.unblock();
    output.append(&[2; 8000]);
    assert!(matches!(output.finish(&mut bench.recording, SystemTime::now()), Finished::Settled));
    assert_eq!((bench.frames_in_file(), bench.recording.faults.len()), (16_000, 0));
}

#[test]
fn what_still_waits_at_the_end_is_completed_later() {
    let mut bench = Bench::new();
    bench.block();
    let mut output = bench.create();
    output.append(&[1; 8000]);
    let Finished::Unwritten(mut output) = output.finish(&mut bench.recording, SystemTime::now()) else {
        panic!("it cannot have been written");
    };
    assert!(output.complete().is_err());
    bench.unblock();
    output.complete().expect("written");
    assert_eq!(bench.frames_in_file(), 8000);
}

#[test]
fn what_exceeds_the_budget_is_lost_counted_and_silence_on_a_timeline() {
    let mut bench = Bench::new();
    bench.block();
    let mut output = bench.create();
    for _ in 0..10 {
        output.append_in_time(&[7; 8000]);
    }
    bench.unblock();
    std::thread::sleep(RETRY);
    output.flush();
    output.append_in_time(&[9; 100]);
    assert!(matches!(output.finish(&mut bench.recording, SystemTime::now()), Finished::Settled));
    assert_eq!(bench.frames_in_file(), 80_100);
    assert!(
        bench.recording.faults[0].contains("of 'c-000000ab.wav' could not be stored"),
        "{:?}",
        bench.recording
    );
    assert_eq!(bench.recording.outputs[0].frames, 80_100);
}

#[test]
fn a_recording_in_memory_becomes_a_file_when_there_is_too_much() {
    let mut bench = Bench::new();
    bench.settings.in_memory = true;
    let (mut small, mut large) = (bench.create(), bench.create());
    small.append(&[1; 100]);
    large.append(&[1; 60_000]);
    large.flush();
    large.append(&[1; 100]);
    large.flush();
    let finished = small.finish(&mut bench.recording, SystemTime::now());
    assert!(matches!(finished, Finished::InMemory(octets) if octets.len() == 244));
    assert!(matches!(large.finish(&mut bench.recording, SystemTime::now()), Finished::Settled));
    let media: Vec<OutputMedium> = bench.recording.outputs.iter().map(|output| output.medium).collect();
    assert_eq!(media, [OutputMedium::Memory, OutputMedium::File]);
    assert!(bench.recording.outputs[1].path.exists());
}
