// Package report turns a run's folder into one HTML page that needs nothing
// else: figures, curves, confusion matrix, the worst mistakes as pictures, and
// the configuration.
package report
