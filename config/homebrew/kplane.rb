# hack/release fills in version, address and checksum.
class Kplane < Formula
  desc "Virtual Kubernetes control planes from one shared API server"
  homepage "https://github.com/kplane-dev/kplane"
  version "${number}"
  license "Apache-2.0"

  on_${os} do
    url "${uri}"
    sha256 "${sha256}"
  end

  def install
    bin.install "kubectl-kplane", "kubectl-vcp", "kplaned", "kplane-apiserver"
    bin.install "kubectl_complete-kplane", "kubectl_complete-vcp"
    bin.install Dir["kplane-image-*.tar"]
    bin.install_symlink "kubectl-kplane" => "kplane"
    bin.install_symlink "kubectl-kplane" => "kp"
  end

  test do
    assert_match version.to_s, shell_output("#{bin}/kubectl-kplane version --client")
  end
end
