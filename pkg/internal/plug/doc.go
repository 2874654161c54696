// Package plug turns YAML and JSON documents into Go structs, strictly, and back.
//
// Promises:
//
//   - [Node.Decode] reports everything that is wrong at once, each problem with file,
//     line, the full path and what to do: `signald.yaml:7: routes[0].to[1].http.tiemout:
//     unknown key, did you mean "timeout"?`. All of it has code Invalid.
//   - Nothing is ignored: unknown and repeated keys, values of another type, missing
//     required values, and values out of bounds are problems.
//   - The values of [secret.Ref] fields never appear in a problem.
//   - [Encode] writes what Decode reads: decoding an encoded value gives an equal value.
//   - No document makes the decoder run away: aliases are expanded within a budget, and
//     nesting is limited.
//
// A struct is described by tags, which also feed the reference documentation ([Fields]):
//
//	json:"name"       the key; "-" leaves the field out
//	doc:"..."         what it means, for the reference
//	default:"..."     used when the key is absent or null; YAML for lists and maps
//	required:"true"   absent, null and "" are problems
//	enum:"a|b"        the only texts allowed
//	min:"1" max:"9"   bounds of numbers, durations and sizes; of the length of lists and maps
//	single:"true"     a list that may be written as its only element
//	single:"read"     the same, but [Encode] writes a list, for whoever reads that
//
// Fields may be strings, bools, numbers, [time.Duration] ("5s", "7d"), [Size] ("10MB"),
// anything with UnmarshalText or UnmarshalJSON, structs, embedded structs, pointers,
// slices, maps, any, and [Node], which keeps a part raw for a later Decode that still
// reports full paths. A struct with doc tags is read by them, whatever other methods it
// has. A type takes over its own decoding with [Decoder], and a struct
// checks itself with a method Validate() error; see [At] for naming the field at fault.
// What it says about fields that did not decode is dropped.
//
// Durations and sizes may not be negative unless min says so.
//
// Nodes are immutable and safe for concurrent use.
package plug
