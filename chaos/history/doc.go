// Package history judges what a mesh did while it was being broken.
//
// A test writes down every operation as it happens, in the style of Jepsen: its beginning
// (invoke), and its end as far as the one who asked could see it (ok, fail or unknown). At
// the end it adds what it finds in the mesh: what is stored, dead or still waiting. [Check]
// holds all of that to the promises of docs/delivery.md:
//
//   - A publish that was acknowledged is stored, once, and each delivery it owes is
//     delivered, a dead letter, or waiting. The counts match exactly.
//   - A publish that was refused is not there. One whose answer was lost may or may not be,
//     and if it is, owes the same.
//   - Nothing is delivered that was not published, and nothing to whom it was not meant for.
//   - A repeat carries the key of the first time, and no two deliveries share a key.
//   - Where order is promised, first deliveries are in the order of the bus.
//
// The package knows neither the mesh nor the network, so that the judge can be tested: see
// the planted faults in its tests.
package history
