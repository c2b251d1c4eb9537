package data

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// fetchTimeout bounds one command or one file's transfer.
const fetchTimeout = 15 * time.Minute

// fetchURL downloads one file over HTTPS into path, whole or not at all.
func fetchURL(ctx context.Context, url, path string, o Options) error {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	o.Progress.report("connecting to "+req.URL.Host, 0, 0)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", url, resp.Status)
	}
	body := &progressReader{r: resp.Body, what: "fetching " + filepath.Base(path), total: max(0, resp.ContentLength), progress: o.Progress}
	if err := writeFile(path, body); err != nil {
		return err
	}
	if resp.ContentLength >= 0 && body.done != resp.ContentLength {
		os.Remove(path)
		return fmt.Errorf("%s broke off after %d of %d bytes", url, body.done, resp.ContentLength)
	}
	return nil
}

// fetchDebian downloads a Debian (or Ubuntu) package with apt-get and puts the
// files that it would install under prefix into dir. Nothing is installed and no
// root is needed: apt-get's download command writes into a folder of ours, and
// where the system has no package lists, they are fetched into that folder too.
func fetchDebian(ctx context.Context, pkg, prefix, dir string, o Options) error {
	for _, tool := range []string{"apt-get", "dpkg-deb"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("%s is not on this system", tool)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	tmp, err := os.MkdirTemp(dir, "apt*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	o.Progress.report("apt-get download "+pkg, 0, 0)
	if err := runIn(ctx, tmp, "apt-get", "-q", "download", pkg); err != nil {
		if ctx.Err() != nil {
			return err
		}
		if err := downloadWithOwnLists(ctx, tmp, pkg, o); err != nil {
			return err
		}
	}
	debs, err := filepath.Glob(filepath.Join(tmp, pkg+"_*.deb"))
	if err != nil || len(debs) != 1 {
		return fmt.Errorf("apt-get download %s left %d files", pkg, len(debs))
	}
	return unpackDebian(ctx, debs[0], prefix, dir, o)
}

// downloadWithOwnLists does apt-get update and download with the lists and caches
// in tmp, for systems whose own lists are empty.
func downloadWithOwnLists(ctx context.Context, tmp, pkg string, o Options) error {
	private := []string{
		"-q", "-o", "Dir::State::Lists=" + filepath.Join(tmp, "lists"), "-o", "Dir::Cache=" + filepath.Join(tmp, "cache"),
		"-o", "APT::Sandbox::User=", // no switch to a user that may not write here
	}
	for _, sub := range []string{"lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(tmp, sub), 0o755); err != nil {
			return err
		}
	}
	o.Progress.report("apt-get update (into the cache folder)", 0, 0)
	if err := runIn(ctx, tmp, "apt-get", append(private, "update")...); err != nil {
		return err
	}
	o.Progress.report("apt-get download "+pkg, 0, 0)
	return runIn(ctx, tmp, "apt-get", append(private, "download", pkg)...)
}

// unpackDebian writes the regular files below prefix into dir.
func unpackDebian(ctx context.Context, deb, prefix, dir string, o Options) error {
	cmd := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", deb)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	unpackErr := func() error {
		tr := tar.NewReader(out)
		for {
			h, err := tr.Next()
			if err == io.EOF {
				_, err = io.Copy(io.Discard, out) // the padding, or dpkg-deb dies of a broken pipe
				return err
			}
			if err != nil {
				return err
			}
			path := "/" + strings.TrimPrefix(strings.TrimPrefix(h.Name, "."), "/")
			if h.Typeflag != tar.TypeReg || filepath.Dir(path) != filepath.Clean(prefix) {
				continue
			}
			r := &progressReader{r: tr, what: "unpacking " + filepath.Base(path), total: h.Size, progress: o.Progress}
			if err := writeFile(filepath.Join(dir, filepath.Base(path)), r); err != nil {
				return err
			}
		}
	}()
	if unpackErr != nil {
		cancelled := cmd.Process.Kill()
		return errors.Join(unpackErr, cancelled, cmd.Wait())
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("dpkg-deb %s: %w", filepath.Base(deb), err)
	}
	return nil
}

// runIn runs a command in a folder; its error holds the last line the command
// wrote on standard error.
func runIn(ctx context.Context, dir, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		lines := strings.Split(strings.TrimSpace(stderr.String()), "\n")
		return fmt.Errorf("%s %s: %w: %s", name, args[len(args)-1], err, lines[len(lines)-1])
	}
	return nil
}
