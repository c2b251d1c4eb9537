//go:build unix

package atomicfile

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

func TestWriteReplacesWholeFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.bin")
	require.NoError(t, WriteFile(path, []byte("old, and longer")))
	require.NoError(t, WriteFile(path, []byte("new")))
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "new", string(got))
	require.Equal(t, []string{"a.bin"}, names(t, dir))
}

func TestModeIsKeptOrFollowsUmask(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.bin")
	require.NoError(t, WriteFile(path, nil))
	plain, err := os.Create(filepath.Join(dir, "plain"))
	require.NoError(t, err)
	require.NoError(t, plain.Close())
	want, err := os.Stat(plain.Name())
	require.NoError(t, err)
	got, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, want.Mode().Perm()&0o644, got.Mode().Perm())

	require.NoError(t, os.Chmod(path, 0o600))
	require.NoError(t, WriteFile(path, []byte("x")))
	got, err = os.Stat(path)
	require.NoError(t, err)
	require.EqualValues(t, 0o600, got.Mode().Perm())
}

func TestErrorLeavesOldFileAndNoTemp(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.bin")
	require.NoError(t, WriteFile(path, []byte("old")))
	cause := errors.New("source failed")
	err := Write(path, func(w io.Writer) error {
		_, werr := w.Write(make([]byte, 3*bufferSize))
		require.NoError(t, werr)
		return cause
	})
	require.ErrorIs(t, err, cause)
	require.ErrorContains(t, err, path)
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "old", string(got))
	require.Equal(t, []string{"a.bin"}, names(t, dir))
}

func TestSymlinkStays(t *testing.T) {
	dir := t.TempDir()
	real, link := filepath.Join(dir, "real"), filepath.Join(dir, "link")
	require.NoError(t, WriteFile(real, []byte("old")))
	require.NoError(t, os.Symlink("real", link))
	require.NoError(t, WriteFile(link, []byte("new")))
	info, err := os.Lstat(link)
	require.NoError(t, err)
	require.NotZero(t, info.Mode()&os.ModeSymlink)
	got, err := os.ReadFile(real)
	require.NoError(t, err)
	require.Equal(t, "new", string(got))
}

func TestMissingFolder(t *testing.T) {
	err := WriteFile(filepath.Join(t.TempDir(), "no", "a.bin"), nil)
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestCheck(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, Check(filepath.Join(dir, "a.bin")))
	require.Empty(t, names(t, dir), "it only asks")
	require.ErrorIs(t, Check(filepath.Join(dir, "no", "a.bin")), os.ErrNotExist)
	require.ErrorIs(t, Check(dir), syscall.EISDIR)
}

func TestErrorsNameTheTarget(t *testing.T) {
	dir := t.TempDir()
	require.EqualError(t, WriteFile(dir, nil), "atomicfile: write "+dir+": is a directory")
	absent := filepath.Join(dir, "no")
	require.EqualError(t, WriteFile(filepath.Join(absent, "a.bin"), nil),
		"atomicfile: write "+absent+"/a.bin: folder "+absent+": no such file or directory")
	require.Empty(t, names(t, dir))
}

func TestWritePath(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.bin")
	require.NoError(t, WritePath(path, func(temporary string) error { return os.WriteFile(temporary, []byte("new"), 0o600) }))
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "new", string(got))
	broken := errors.New("broken")
	require.ErrorIs(t, WritePath(path, func(temporary string) error {
		require.NoError(t, os.WriteFile(temporary, []byte("half"), 0o600))
		return broken
	}), broken)
	got, err = os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "new", string(got))
	require.Equal(t, []string{"a.bin"}, names(t, dir))
}

func TestRemoveStale(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.bin")
	require.NoError(t, WriteFile(path, []byte("old")))
	stale := filepath.Join(dir, tempPrefix("a.bin")+"123")
	other := filepath.Join(dir, tempPrefix("b.bin")+"123")
	require.NoError(t, os.WriteFile(stale, nil, 0o600))
	require.NoError(t, os.WriteFile(other, nil, 0o600))
	removed, err := RemoveStale(path)
	require.NoError(t, err)
	require.Equal(t, []string{stale}, removed)
	require.FileExists(t, path)
	require.FileExists(t, other)
}

// fileLimitEnv tells the test binary to act as the process that runs out of space.
const fileLimitEnv = "ATOMICFILE_TEST_LIMITED"

// TestNoSpace lets a child process fail in a real write(2): its file size limit ends the file early, as a full disk
// would (EFBIG in place of ENOSPC).
func TestNoSpace(t *testing.T) {
	if path := os.Getenv(fileLimitEnv); path != "" {
		signal.Ignore(syscall.SIGXFSZ)
		limit := syscall.Rlimit{Cur: 4 * bufferSize, Max: 4 * bufferSize}
		require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit))
		err := WriteFile(path, make([]byte, 8*bufferSize))
		require.ErrorIs(t, err, syscall.EFBIG)
		return
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "a.bin")
	require.NoError(t, WriteFile(path, []byte("old")))
	child := exec.Command(os.Args[0], "-test.run=^TestNoSpace$", "-test.count=1")
	child.Env = append(os.Environ(), fileLimitEnv+"="+path)
	out, err := child.CombinedOutput()
	require.NoError(t, err, "%s", out)
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "old", string(got))
	require.Equal(t, []string{"a.bin"}, names(t, dir))
}
