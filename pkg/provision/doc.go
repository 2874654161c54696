// Package provision makes streams and buckets what files say they are.
//
// What it promises:
//
//   - Files are read strictly: an unknown key, a wrong value or a misspelt placeholder is an
//     error with file and line, and nothing is changed.
//   - [Ensure] creates what is missing and never touches what exists. Any number of
//     processes may do so at the same time.
//   - A [Plan] shows each difference and says whether it is safe, loses something, or can't
//     be made. What the server fills in by itself is not a difference, nor is its own
//     metadata. Streams that no file mentions are left alone, always.
//   - [Plan.Apply] changes what was shown and nothing else: it starts from the live
//     configuration, keeps what the files can't say, and refuses when the live
//     configuration has moved since the plan was made.
//
// The definitions of the product itself are in the package streams.
package provision
