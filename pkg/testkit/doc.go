// Package testkit gives tests a real mesh in one line, gone when the test ends.
//
// What it promises:
//
//   - Everything is real: a NATS server with JetStream in the process, a bus on it, HTTP
//     over loopback. Nothing is mocked, nothing needs to be installed, no fixed port is
//     used, and tests may run in parallel.
//   - One server per test: every call with the same tb shares it. A subtest that passes its
//     own t has its own.
//   - What was started ends with the test, in order, goroutines included; goleak finds
//     nothing.
//   - Nothing here sleeps. [Recorder] and [Target] wait for what they were asked for, and a
//     wait that ends in vain fails the test and says what was seen instead.
//
// Helpers call tb.Fatal, so they belong to the goroutine of the test.
package testkit
