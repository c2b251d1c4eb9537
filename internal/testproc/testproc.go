// Package testproc gives tests a process of their own.
package testproc

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Alone runs the test in a process of its own, with the environment's
// variables `env` ("NAME=value") besides, and says whether this is that one.
// For what holds for a whole process: a limit on the size of files (go test
// itself writes into a long one now and then), memory in use.
func Alone(t *testing.T, env ...string) bool {
	t.Helper()
	const variable = "NATTEN_TEST_ALONE"
	if os.Getenv(variable) == t.Name() {
		return true
	}
	pattern := "^" + strings.ReplaceAll(t.Name(), "/", "$/^") + "$"
	child := exec.Command(os.Args[0], "-test.run="+pattern, "-test.v")
	child.Env = append(append(os.Environ(), variable+"="+t.Name()), env...)
	output, err := child.CombinedOutput()
	require.NoError(t, err, "%s", output)
	require.Contains(t, string(output), "--- PASS: "+t.Name())
	t.Logf("%s", output)
	return false
}
