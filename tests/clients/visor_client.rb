# frozen_string_literal: true

# A client for VISOR's image API, written from the protocol's description. On the wire it does what the
# original Ruby client does: one connection a request, metadata in headers, files as one chunked
# octet-stream, HMAC-SHA1 signatures, and statuses turned into exceptions. It leaves Net::HTTP free to
# add its own Content-Type to a POST or PUT without a body *after* the request was signed: a server that
# wants old clients on new Rubies has to cope with that.

require 'json'
require 'net/http'
require 'openssl'
require 'time'
require 'uri'

class VisorClient
  class Failure < StandardError; end
  class NotFound < Failure; end
  class Invalid < Failure; end
  class Conflict < Failure; end
  class Forbidden < Failure; end
  class Internal < Failure; end

  # Every other status counts as success, as it does for the original: that is why a server must not
  # answer 401 where this client expects 403.
  EXCEPTIONS = { 400 => Invalid, 403 => Forbidden, 404 => NotFound, 409 => Conflict,
                 500 => Internal, 503 => Internal }.freeze

  META = 'x-image-meta-'
  SIGNED = %w[content-md5 content-type date].freeze
  TIMESTAMP = /\A\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4}\z/

  # How a request is signed.
  module Signature
    module_function

    # The text that is signed: the verb, the signed headers in order of their names, the path.
    def text(verb, target, headers)
      chosen = { 'content-md5' => '', 'content-type' => '' }
      headers.each do |name, value|
        name = name.downcase
        chosen[name] = value.to_s.strip if SIGNED.include?(name) || name.start_with?(META)
      end
      lines = chosen.sort.map { |name, value| name.start_with?(META) ? "#{name}:#{value}" : value }
      [verb, *lines, target.split('?', 2).first].join("\n")
    end

    def of(secret, text)
      [OpenSSL::HMAC.digest('SHA1', secret, text)].pack('m0')
    end
  end

  attr_reader :access_key, :secret_key

  def initialize(url, access_key: nil, secret_key: nil)
    @url = URI(url)
    @access_key = access_key
    @secret_key = secret_key
  end

  # The metadata of one image, read from the headers of the reply: numbers and times are typed.
  def head_image(id)
    reply = exchange(Net::HTTP::Head.new("/images/#{id}"))
    reply.each_header.with_object({}) do |(name, value), meta|
      meta[name.delete_prefix(META).to_sym] = typed(value) if name.start_with?(META)
    end
  end

  # The file of one image, chunk by chunk.
  def get_image(id, &block)
    request = Net::HTTP::Get.new("/images/#{id}")
    dress(request)
    connection.start do |http|
      http.request(request) do |reply|
        check(reply)
        reply.read_body(&block)
      end
    end
    nil
  end

  def get_images(query = {})
    answer(exchange(Net::HTTP::Get.new("/images#{query_string(query)}")))
  end

  def get_images_detail(query = {})
    answer(exchange(Net::HTTP::Get.new("/images/detail#{query_string(query)}")))
  end

  def post_image(meta, file = nil)
    send_image(Net::HTTP::Post.new('/images'), meta, file)
  end

  def put_image(id, meta, file = nil)
    send_image(Net::HTTP::Put.new("/images/#{id}"), meta, file)
  end

  def delete_image(id)
    answer(exchange(Net::HTTP::Delete.new("/images/#{id}")))
  end

  def delete_by_query(query)
    get_images(query).map { |image| delete_image(image[:_id]) }
  end

  # One request as the caller wants it; the reply comes back whatever its status. `headers` are signed,
  # `unsigned` are put in afterwards (nil takes a header away).
  def raw(verb, target, headers: {}, unsigned: {}, body: nil)
    request = Net::HTTPGenericRequest.new(verb, %w[POST PUT PATCH].include?(verb), verb != 'HEAD', target)
    headers.each { |name, value| request[name] = value }
    dress(request)
    request['Accept'] = headers['Accept'] if headers['Accept']
    unsigned.each { |name, value| request[name] = value }
    request.body = body if body
    connection.request(request)
  end

  private

  def connection
    http = Net::HTTP.new(@url.host, @url.port, nil)
    http.read_timeout = 600
    http
  end

  def send_image(request, meta, file)
    meta&.each { |name, value| request["#{META}#{name}"] = value.to_s }
    return answer(exchange(request)) unless file

    File.open(File.expand_path(file), 'rb') do |stream|
      request['Content-Type'] = 'application/octet-stream'
      request['Transfer-Encoding'] = 'chunked'
      request.body_stream = stream
      answer(exchange(request))
    end
  end

  def dress(request)
    request['Date'] ||= Time.now.utc.httpdate
    if access_key
      signature = Signature.of(secret_key, Signature.text(request.method, request.path, request.each_header.to_h))
      request['Authorization'] = "VISOR #{access_key}:#{signature}"
    end
    request['User-Agent'] = 'VISOR Image System client'
    request['Accept'] = 'application/json'
  end

  def exchange(request)
    dress(request)
    check(connection.request(request))
  end

  def check(reply)
    exception = EXCEPTIONS[reply.code.to_i]
    raise exception, answer(reply) if exception

    reply
  end

  # A reply to HEAD has no body; its error stands in a header.
  def answer(reply)
    return reply['x-error-message'] unless reply.body

    parsed = JSON.parse(reply.body, symbolize_names: true)
    parsed[:image] || parsed[:images] || parsed[:message]
  end

  def query_string(query)
    query.nil? || query.empty? ? '' : "?#{URI.encode_www_form(query)}"
  end

  def typed(value)
    value = value.dup.force_encoding(Encoding::UTF_8)
    return Integer(value) if value.match?(/\A\d+\z/) && !value.match?(/\A0\d/)

    value.match?(TIMESTAMP) ? Time.parse(value) : value
  end
end
