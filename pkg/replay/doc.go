// Package replay sends signals of the past once more: out of a bus, a snapshot or an
// archive, to a handler, a target, a route, another bus or a file.
//
// It promises:
//
//   - Nothing but the sink gets anything. A replay to a target or a route sets off no other
//     route, and one to a file sets off nothing at all.
//   - What is delivered or published again carries the extension replayid, the same for all
//     of one job, by which a receiver can tell it from the first time. What is only written
//     down is written as it was.
//   - With one worker, the default, signals go out in the order of the source, each when the
//     one before has its outcome. With more, up to so many are under way at once.
//   - A job ends with a [Report] of everything it did, however it ends: finished, cancelled,
//     given up. The report says where to go on.
//   - A signal that fails is counted, and told, and does not end the job, unless the sink as
//     a whole has failed or [Job.MaxFailures] is reached.
//
// A job lives in the process that runs it. One that is interrupted is started again from
// [Report.Next]; what was under way then is sent twice.
//
// The parts fit together like this:
//
//	sink, err := replay.ToRoute(b, billing)
//	job := replay.Job{From: b.Entries(ctx, "order.**", bus.Since(monday)), To: sink, Rate: 50}
//	plan, err := job.Count(ctx)   // changes nothing
//	report, err := job.Run(ctx)
package replay
