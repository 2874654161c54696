// Package route is the routes of the mesh: what one says, where all of them are kept, and
// the table that finds the ones for a signal.
//
// Promises:
//
//   - A [Spec] that decodes or validates without error can be routed by: patterns are
//     parsed, the predicate is compiled, and the options of every target suit its adapter.
//   - A [Table] never changes and never panics. A predicate that fails is an outcome that
//     [Table.Evaluate] shows, never a silent false.
//   - The [Store] changes routes all or nothing: [Store.Apply] writes every change in one
//     step or none, writes nothing that is equal already, and meets a concurrent change
//     with fault.Conflict instead of overwriting it.
//   - [Store.Watch] gives whole states of the store, never half of a change. A route that
//     can't be understood is reported and its last good revision stays in force.
//
// The order of routes for one signal is that of package router: specificity, then priority,
// then name. Of a route with several patterns the most specific matching one counts, and
// the route runs once.
package route
