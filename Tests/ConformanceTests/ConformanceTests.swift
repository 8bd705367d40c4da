import Testing

/// The tests of the whole, with the real binary. One after the other: each has processes of its own, and a process that
/// is started while another test starts one would inherit that one's pipes and keep them open.
@Suite(.serialized)
struct ConformanceTests {}
