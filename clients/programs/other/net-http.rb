require "net/http"

what, base = ARGV
uri = URI(base + (what == "stream" ? "/sse?events=3" : "/zen"))
Net::HTTP.start(uri.host, uri.port, use_ssl: true) do |http|
  http.request(Net::HTTP::Get.new(uri)) do |response|
    abort "#{response.code} #{response.message}: #{response.body}" unless response.is_a?(Net::HTTPOK)
    response.read_body do |piece|
      print piece
      $stdout.flush
    end
  end
end
