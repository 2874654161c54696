// Package expr evaluates CEL, the Common Expression Language, over signals and over what a
// source received.
//
// Promises:
//
//   - Compiling finds what can be found before a signal comes: syntax, unknown names,
//     misspelt attributes, results of the wrong type. The error shows the position and the
//     line with a caret.
//   - Evaluating never panics and always ends: an expression can't loop, and what could
//     still be expensive (comprehensions, regular expressions, building text) is metered
//     and stopped with an error.
//   - An evaluation that fails is an error that says why, never a silent false. A missing
//     key is named, with the has() that would guard it.
//   - Compiled expressions are immutable and safe for concurrent use.
//
// # Predicates
//
// A [Predicate] sees two variables:
//
//	signal   id source type subject time datacontenttype dataschema specversion, and every
//	         extension as a field: signal.tenant. Optional attributes that are not given
//	         are "" (time: the year 1), and has() tells. An extension that is not given is
//	         an error, unless has() guards it.
//	data     the payload: JSON as maps, lists, strings, numbers, bools and null; text/* as a
//	         string; anything else as bytes; null when there is none. It is decoded at the
//	         first use, so an expression that only looks at the signal never pays for it.
//
// # Mappings
//
// A [Mapping] makes an attribute out of a request: body (as data above), headers (names in
// lower case) and query, both maps of strings.
//
// # Numbers
//
// JSON has one kind of number, CEL has three that don't mix. Here a number without fraction
// or exponent is an int, or an uint beyond 9223372036854775807, exact up to
// 18446744073709551615; every other number is a double. Comparing goes across all three,
// so data.amount > 1000 and data.count == 3 hold for 1000.5 and for 3.0. Adding,
// subtracting, multiplying and dividing an int and a double gives a double. Two ints divide
// as ints: write data.total / 2.0 for a fraction.
//
// # Functions
//
// The CEL standard library and its macros, optional values (data.?a.orValue(0)), and the
// CEL extensions for strings, math, sets and encoders.
package expr
